// The real @pgflow/client on the real supabase-js; between it and the database stands platform.mjs. In: {connect, role,
// flow, input, run_id}. Starts a run, waits until a worker elsewhere has ended it, and tells what it has seen:
// {definition, started, statuses, events, output, again, missing, refused}.
import process from 'node:process';
import postgres from 'postgres';
import { createClient } from '@supabase/supabase-js';
import { PgflowClient } from '@pgflow/client';
import { realtimeOver, restOver } from './platform.mjs';
import { given, tell } from './talk.mjs';

const { connect, role, flow, input, run_id: runId } = await given();
const sql = postgres({ ...connect, onnotice: () => {} });
const supabase = createClient('http://localhost', 'anonymous', {
  global: { fetch: restOver(sql, role) },
  realtime: { transport: await realtimeOver(sql) },
  auth: { persistSession: false, autoRefreshToken: false },
});
const client = new PgflowClient(supabase, { realtimeStabilizationDelayMs: 0 });

const events = [];
client.onRunEvent((event) => events.push(event.event_type));
client.onStepEvent((event) => events.push(`${event.event_type} ${event.step_slug}`));

const definition = await client.fetchFlowDefinition(flow);
const run = await client.startFlow(flow, input, runId);
const started = { run_id: run.run_id, status: run.status, remaining_steps: run.remaining_steps };
run.on('*', () => {}); // as long as somebody listens, the run keeps what it knows of its steps
await run.waitForStatus('completed', { timeoutMs: 20000 });
const statuses = Object.fromEntries(definition.steps.map((step) => [step.step_slug, run.step(step.step_slug).status]));
const output = run.output;
client.disposeAll();

const later = new PgflowClient(supabase, { realtimeStabilizationDelayMs: 0 });
const again = await later.getRun(runId);
const refused = await later.startFlow('no_such_flow', {}).catch((error) => error.message);
tell({ definition, started, statuses, events, output, again: again.output, refused });
later.disposeAll();
await supabase.removeAllChannels();
await sql.end();
process.exit(0);
