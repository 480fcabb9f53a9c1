// Stands in for the hosted platform between the real supabase-js and a plain database: what PostgREST makes of the two
// kinds of requests that @pgflow/client sends, and a realtime server that passes on what realtime.send has sent.
// Not PostgREST's or Realtime's own code: their protocols, as far as this client speaks them.

// How PostgREST runs a request: as the role of the caller, with the arguments taken by name from one JSON document.
async function asCaller(sql, role, work) {
  return sql.begin(async (transaction) => {
    if (role) await transaction`select set_config('role', ${role}, true)`;
    return work(transaction);
  });
}

async function callFunction(transaction, schema, name, body) {
  // Of functions with one name, the one whose arguments have just these names.
  const names = Object.keys(body);
  const [found] = await transaction`
    select array_agg(format('%I %s', a.name, format_type(a.type, null)) order by a.place) as columns,
           array_agg(format('%I := given.%I', a.name, a.name) order by a.place) as passed
    from pg_proc as p, unnest(p.proargnames, p.proargtypes::oid[]) with ordinality as a (name, type, place)
    where p.pronamespace = ${schema}::regnamespace and p.proname = ${name} and p.proargnames @> ${names}
      and a.name = any (${names})
    group by p.oid`;
  if (!found) throw Object.assign(new Error(`no function ${schema}.${name}(${names})`), { code: 'PGRST202' });
  const [row] = await transaction.unsafe(
    `select ${schema}.${name}(${found.passed}) as answer from json_to_record($1::text::json) as given (${found.columns})`,
    [JSON.stringify(body)],
  );
  return row.answer;
}

async function selectRows(transaction, schema, table, query) {
  const values = [];
  const conditions = [];
  for (const [name, value] of query) {
    if (name !== 'select' && name !== 'order') {
      values.push(value.replace(/^eq\./, ''));
      conditions.push(`${name} = $${values.length}`);
    }
  }
  const order = query.get('order')?.replace('.', ' ');
  const where = conditions.length ? ` where ${conditions.join(' and ')}` : '';
  const [row] = await transaction.unsafe(
    `select coalesce(json_agg(t), '[]') as answer from (select ${query.get('select')} from ${schema}.${table}${where}` +
      `${order ? ` order by ${order}` : ''}) as t`,
    values,
  );
  return row.answer;
}

export function restOver(sql, role) {
  return async (address, init) => {
    const url = new URL(address);
    const headers = new Headers(init.headers);
    const [, resource, rpc] = url.pathname.match(/\/rest\/v1\/(\w+)(?:\/(\w+))?$/);
    try {
      let answer = await asCaller(sql, role, (transaction) =>
        rpc
          ? callFunction(transaction, headers.get('content-profile'), rpc, JSON.parse(init.body))
          : selectRows(transaction, headers.get('accept-profile'), resource, url.searchParams),
      );
      if (headers.get('accept')?.includes('vnd.pgrst.object')) {
        if (answer.length !== 1) return Response.json({ code: 'PGRST116', message: 'not one row' }, { status: 406 });
        [answer] = answer;
      }
      return Response.json(answer);
    } catch (error) {
      return Response.json({ code: error.code, message: error.message }, { status: 400 });
    }
  };
}

// A WebSocket to a realtime server: says ok to whatever is asked, and sends to each channel what comes for its topic.
export async function realtimeOver(sql) {
  const open = new Set();
  await sql.listen('realtime', (text) => {
    const { topic, event, payload } = JSON.parse(text);
    for (const socket of open) socket.deliver(topic, event, payload);
  });

  return class Socket {
    static CONNECTING = 0;
    static OPEN = 1;
    static CLOSING = 2;
    static CLOSED = 3;

    constructor(url) {
      this.url = url;
      this.readyState = Socket.CONNECTING;
      this.joined = new Map();
      setTimeout(() => {
        this.readyState = Socket.OPEN;
        open.add(this);
        this.onopen?.({});
      }, 0);
    }

    send(text) {
      const [join, reference, topic, event] = JSON.parse(text);
      if (event === 'phx_join') this.joined.set(topic, join);
      if (event === 'phx_leave') this.joined.delete(topic);
      this.#receive([join, reference, topic, 'phx_reply', { status: 'ok', response: { postgres_changes: [] } }]);
    }

    deliver(topic, event, payload) {
      const channel = `realtime:${topic}`;
      if (this.joined.has(channel)) {
        this.#receive([this.joined.get(channel), null, channel, 'broadcast', { type: 'broadcast', event, payload }]);
      }
    }

    #receive(message) {
      setTimeout(() => this.onmessage?.({ data: JSON.stringify(message) }), 0);
    }

    close(code = 1000, reason = '') {
      this.readyState = Socket.CLOSED;
      open.delete(this);
      this.onclose?.({ code, reason, wasClean: true });
    }
  };
}
