// How these programs talk with the test that started them: one JSON value in, one out; the same under Node and Deno.
import { Buffer } from 'node:buffer';
import { readFileSync, writeSync } from 'node:fs';
import process from 'node:process';

export const given = async () => JSON.parse(readFileSync(0, 'utf8'));

export function tell(value) {
  const bytes = Buffer.from(JSON.stringify(value) + '\n');
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += writeSync(1, bytes, sent);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error; // a full pipe
    }
  }
}

// Clients of other languages log to standard output; here that is for the answer alone.
console.log = console.info = console.debug = (...words) => process.stderr.write(`${words.join(' ')}\n`);
