// One of a mixed crew: a worker around the real PgflowSqlClient, whose work is that of tests/siblings/crew/flows.py.
// Takes {connect, member} from its first argument; serves flow Crew until it is told to stop.
import { randomUUID } from 'node:crypto';
import process from 'node:process';
import postgres from 'postgres';
import { PgflowSqlClient } from '@pgflow/core';

const { connect, member } = JSON.parse(process.argv[2]);
const ELEMENTS = 6;
const BIG = 150;
const sql = postgres({ ...connect, max: 4, onnotice: () => {} });
const client = new PgflowSqlClient(sql);
const [, workerId] = member.split('#');
let stopping = false;
process.on('SIGTERM', () => (stopping = true));

// A root step that is no map has the run's input beside its own: workers from 0.12 on know that, 0.8.1 itself would
// look for `input.run`.
async function work({ flow_slug, run_id, step_slug, task_index, input: own, flow_input: flowInput }) {
  const input = flowInput ?? own;
  const token = randomUUID();
  const [{ earlier }] = await sql`
    select count(*)::int as earlier from ledger
    where run_id = ${run_id} and step_slug = ${step_slug} and task_index = ${task_index}`;
  const raises = ['weak', 'fate'].includes(step_slug) || (step_slug === 'each' && input % 5 === 0 && earlier === 0);
  await sql`
    insert into ledger (flow_slug, run_id, step_slug, task_index, token, member, raised)
    values (${flow_slug}, ${run_id}, ${step_slug}, ${task_index}, ${token}, ${member}, ${raises})`;
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (raises) throw new Error(`${step_slug} does not succeed`);
  switch (step_slug) {
    case 'numbers':
      return Array.from({ length: ELEMENTS }, (_, n) => input.base + n);
    case 'each':
      return { value: 2 * input, token };
    case 'total': {
      const sum = input.each.reduce((before, one) => before + one.value, 0);
      return { sum, tokens: input.each.map((one) => one.token), kind: sum >= BIG ? 'big' : 'small', token };
    }
    case 'bonus':
      return { bonus: 10 * input.total.sum, token };
    default:
      return {
        sum: input.total.sum,
        tokens: input.total.tokens,
        bonus: input.bonus ? input.bonus.bonus : null,
        weak: 'weak' in input,
        token,
      };
  }
}

async function perform(task) {
  let output;
  try {
    output = await work(task);
  } catch (error) {
    return client.failTask(task, error);
  }
  return client.completeTask(task, output);
}

await sql`insert into pgflow.workers (queue_name, worker_id, function_name) values ('Crew', ${workerId}, 'edge')`;
const beat = () => sql`update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = ${workerId}`;
const beating = setInterval(() => beat().catch(console.error), 5000);
console.log('TypeScript 0.8.1 is up');
while (!stopping) {
  try {
    const messages = await client.readMessages('crew', 2, 10, 1, 50);
    const ids = messages.map((message) => message.msg_id);
    if (ids.length) await Promise.all((await client.startTasks('Crew', ids, workerId)).map(perform));
  } catch (error) {
    console.log(`poll: ${error.message}`);
  }
}
clearInterval(beating);
await sql`select pgflow.mark_worker_stopped(${workerId}::uuid)`;
await sql.end();
