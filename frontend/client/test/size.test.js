import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

const LIMIT = 8 * 1024; // bytes; what a page may be asked to load for it

test('the module is small, gzipped and with all its comments', async () => {
  const { length } = gzipSync(await readFile(new URL('../aldaba.js', import.meta.url)));
  assert.ok(length <= LIMIT, `${length} bytes`);
});
