import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
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
  const now = readFileSync(path.join(out, 'aldaba.d.ts'), 'utf8');
  assert.equal(readFileSync(path.join(client, 'aldaba.d.ts'), 'utf8'), now);
});
