import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { minified, TARGET } from '../../build.js';

const LIMIT = 8 * 1024; // bytes; what a page may be asked to load for it

test('the minified module is that of the source: npm run build', async () => {
  assert.ok(readFileSync(TARGET, 'utf8') === (await minified()), 'it is not: npm run build');
});

test('what a browser loads is small, and says what it is', () => {
  const module = readFileSync(TARGET);
  const { length } = gzipSync(module, { level: 6 });
  assert.ok(length <= LIMIT, `${length} bytes`);
  assert.match(module.toString(), /^\/\/ aldaba, MIT\n/);
});
