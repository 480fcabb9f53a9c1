// A worker around the real PgflowSqlClient of @pgflow/core: reads messages, starts, completes and fails tasks, as the
// edge worker of its time did. In: {connect, prepare, flow, queue, polls, start: [inputs]}. Starts runs of flow Greet (see
// tests/siblings/world.py), polls so often, fails an element that is "bad" once. Out: {runs, tasks, read}.
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { PgflowSqlClient } from '@pgflow/core';
import { given, tell } from './talk.mjs';

const { connect, prepare, flow, queue, polls, start } = await given();
const sql = postgres({ ...connect, prepare, max: 2, onnotice: () => {} });
const client = new PgflowSqlClient(sql);

const workerId = randomUUID();
await sql`insert into pgflow.workers (queue_name, worker_id, function_name) values (${queue}, ${workerId}, 'edge')`;

const runs = [];
for (const input of start) {
  runs.push(await client.startFlow(flow, input));
  runs.push(await client.startFlow(flow, input, randomUUID()));
}

const failed = new Set();
const handle = (task) => {
  if (task.step_slug === 'join') return task.input.upper.join('');
  if (task.input === 'bad' && !failed.has(task.run_id)) {
    failed.add(task.run_id);
    throw new Error('it is bad');
  }
  return task.input.toUpperCase();
};

const tasks = [];
let read = null;
for (let poll = 0; poll < polls; poll++) {
  const messages = await client.readMessages(queue, 2, 10, 1, 50);
  read ??= messages[0] ?? null;
  const ids = messages.map((message) => message.msg_id);
  for (const task of ids.length ? await client.startTasks(flow, ids, workerId) : []) {
    tasks.push(task);
    try {
      await client.completeTask(task, handle(task));
    } catch (error) {
      await client.failTask(task, error);
    }
  }
}
await sql.end();
tell({ runs, tasks, read });
