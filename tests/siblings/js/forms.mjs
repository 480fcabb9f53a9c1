// Sends the call forms of tests/siblings/forms.py through the real `postgres` driver, each in a transaction that is
// taken back. In: {connect, prepare, forms: [{name, sql, parameters: [[kind, value]], after}]} on standard input. Out: for
// each form {columns: [[name, type oid]], rows: [[text or null]], after} or {error}.
import postgres from 'postgres';
import { given, tell } from './talk.mjs';

class TakeBack extends Error {}

const { connect, prepare, forms } = await given();
const sql = postgres({ ...connect, prepare, max: 1, onnotice: () => {} });

// As the SQL clients of pgflow pass them: JSON through sql.json, all else as it is.
const parameter = ([kind, value]) => (kind === 'json' ? sql.json(value) : value);
const asText = (cell) => (cell === null ? null : cell.toString());

async function send(form) {
  const found = {};
  try {
    await sql.begin(async (transaction) => {
      const rows = await transaction.unsafe(form.sql, form.parameters.map(parameter), { prepare }).raw();
      found.columns = (rows.columns ?? []).map((column) => [column.name, column.type]);
      found.rows = rows.map((row) => row.map(asText));
      if (form.after) [[found.after]] = await transaction.unsafe(form.after).values();
      throw new TakeBack();
    });
  } catch (error) {
    if (!(error instanceof TakeBack)) return { error: `${error.code}: ${error.message}` };
  }
  return found;
}

const answers = [];
for (const form of forms) answers.push(await send(form));
await sql.end();
tell(answers);
