import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const client = fileURLToPath(new URL('..', import.meta.url));

test('the types are those of the source: npm run types, in client/', (t) => {
  const out = mkdtempSync(path.join(tmpdir(), 'aldaba-types-'));
  t.after(() => rmSync(out, { recursive: true }));
  const { scripts } = JSON.parse(readFileSync(path.join(client, 'package.json'), 'utf8'));
  const [tsc, ...args] = scripts.types.split(' && ')[0].split(' ');
  execFileSync(path.join(client, '../node_modules/.bin', tsc), [...args, '--outDir', out], { cwd: client });
  for (const name of ['aldaba.d.ts', 'error.d.ts'])
    assert.equal(
      readFileSync(path.join(client, 'types', name), 'utf8'),
      readFileSync(path.join(out, name), 'utf8'),
    );
});

test('a TypeScript page needs nothing but the types that are shipped', (t) => {
  const page = mkdtempSync(path.join(tmpdir(), 'aldaba-page-'));
  t.after(() => rmSync(page, { recursive: true }));
  const shipped = path.join(page, 'node_modules', 'aldaba');
  cpSync(path.join(client, 'types'), path.join(shipped, 'types'), { recursive: true });
  cpSync(path.join(client, 'package.json'), path.join(shipped, 'package.json'));
  writeFileSync(path.join(page, 'package.json'), '{"type":"module"}');
  writeFileSync(
    path.join(page, 'page.ts'),
    `import { AldabaError, type Client, connect, type Message, type State } from 'aldaba';
const hub: Client = connect({ url: 'ws://hub/ws', store: 'mine', share: true, getToken: async () => 't' });
const off: () => void = hub.on('a', (data: { title: string }, message: Message) => [data.title, message.position]);
hub.onState((state: State, info) => [state, info.retryAt?.toFixed()]);
hub.onResync('a', async (channel: string) => channel);
hub.onResync((channel: string) => channel);
const unread: number = await hub.ack('a');
const { messages, more } = await hub.history('a', { limit: 1 });
hub.subscribe('b').catch((error) => error instanceof AldabaError && error.retryAfter);
// @ts-expect-error a channel is a string
hub.subscribe(5);
// @ts-expect-error there is no such state
export const state: State = 'opening';
export default [off, unread, messages, more];
`,
  );
  const tsc = path.join(client, '../node_modules/.bin/tsc');
  const strict = '--ignoreConfig --strict --noEmit --target es2022 --module nodenext --lib es2023,dom';
  execFileSync(tsc, ['page.ts', ...strict.split(' ')], { cwd: page, stdio: 'pipe' });
});
