// A stand-in for `aldaba dev`, to work on the demo page without the hub: the same HTTP endpoints, the wire with the
// demo's channels, and just enough of Redis for `redis-cli publish`. Not shipped, and nothing here checks a token.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';

const users = [
  { user: 'anna', name: 'Anna', rooms: ['lobby', 'garden'], org: 'acme', roles: [] },
  { user: 'ben', name: 'Ben', rooms: ['lobby'], org: 'acme', roles: [] },
  { user: 'carla', name: 'Carla', rooms: ['garden'], org: 'umbra', roles: [] },
  { user: 'dora', name: 'Dora', rooms: [], org: '', roles: ['admin'] },
];
for (const user of users) {
  user.channels = [
    `user:${user.user}`,
    ...user.rooms.map((room) => `room:${room}`),
    ...(user.org ? [`org:${user.org}:news`] : []),
    'broadcast',
    'blogpost',
  ];
}

const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const root = fileURLToPath(new URL('..', import.meta.url));
const sessions = new Set();

function fileFor(path) {
  if (path === '/') return 'demo/index.html';
  if (path === '/aldaba.js') return 'client/aldaba.js';
  return /^\/demo\/[a-z]+\.[a-z]+$/.test(path) ? path.slice(1) : null;
}

const server = createServer(async (request, response) => {
  const path = request.url.split('?')[0];
  const json = (value) => response.setHeader('Content-Type', 'application/json').end(JSON.stringify(value));
  if (path === '/demo/users') return json(users);
  if (path === '/demo/info') return json({ redis_port: redis.address().port, version: 'fake' });
  if (path === '/demo/token') {
    let body = '';
    for await (const chunk of request) body += chunk;
    return json({ token: `fake.${JSON.parse(body).user}.token`, expires_at: 2_000_000_000 });
  }
  try {
    const name = fileFor(path);
    const content = await readFile(root + name);
    response.setHeader('Content-Security-Policy', "default-src 'self'");
    response.setHeader('Content-Type', types[extname(name)]).end(content);
  } catch {
    response.writeHead(404).end();
  }
});

const sockets = new WebSocketServer({ server, path: '/ws', handleProtocols: () => 'aldaba.v1' });
sockets.on('connection', (socket, request) => {
  const name = request.headers['sec-websocket-protocol'].match(/bearer\.fake\.(\w+)\.token/)[1];
  const user = users.find((candidate) => candidate.user === name);
  const admin = user.roles.includes('admin');
  const session = { channels: new Set(user.channels), send: (frame) => socket.send(JSON.stringify(frame)) };
  sessions.add(session);
  socket.on('close', () => sessions.delete(session));
  session.send({
    type: 'welcome',
    session: 'fake',
    user: name,
    expires_at: 2_000_000_000,
    channels: user.channels.map((channel) => ({ channel })),
  });
  socket.on('message', (text) => {
    const { type, id, channel, data } = JSON.parse(text);
    const forbidden = () => session.send({ type: 'error', id, code: 'forbidden', message: 'no grant' });
    const room = channel?.startsWith('room:');
    if (type === 'ping') return session.send({ type: 'pong', id });
    if (type === 'unsubscribe') {
      session.channels.delete(channel);
      return session.send({ type: 'left', id, channel, reason: 'unsubscribed' });
    }
    if (type === 'subscribe') {
      if (!session.channels.has(channel) && !(admin && room)) return forbidden();
      session.channels.add(channel);
      return session.send({ type: 'joined', id, channel });
    }
    if (type === 'publish') {
      const granted = channel === 'broadcast' ? admin : room && session.channels.has(channel);
      if (!granted) return forbidden();
      publish(channel, data);
      return session.send({ type: 'published', id });
    }
    return undefined;
  });
});

function publish(channel, data) {
  const receivers = [...sessions].filter((session) => session.channels.has(channel));
  for (const session of receivers) session.send({ type: 'message', channel, data });
  return receivers.length;
}

const redis = createTcpServer((socket) => {
  socket.on('data', (chunk) => {
    const words = chunk
      .toString()
      .split('\r\n')
      .filter((_, index) => index && index % 2 === 0);
    if (words[0]?.toLowerCase() !== 'publish') return socket.write('-ERR only PUBLISH here\r\n');
    try {
      return socket.write(`:${publish(words[1], JSON.parse(words[2]))}\r\n`);
    } catch {
      return socket.write(':0\r\n');
    }
  });
});

redis.listen(Number(process.env.REDIS_PORT ?? 0), '127.0.0.1', () => {
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
    console.log(`ALDABA_DEMO_URL=http://127.0.0.1:${server.address().port}`);
    console.log(`ALDABA_REDIS_PORT=${redis.address().port}`);
  });
});
