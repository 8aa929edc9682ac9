// Makes client/aldaba.min.js, the one file that browsers load: `npm run build`. A test holds it current.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';

const CLIENT = fileURLToPath(new URL('client/', import.meta.url));
export const TARGET = `${CLIENT}aldaba.min.js`;

/** What modules call each other's parts, and nothing else: no page, frame or browser knows these names. */
const INTERNAL =
  /^(receiveOnly|onbeat|shared|wants|hears|reached|asking|tap|wake|link|giveUp|unpin|pin|revert|save|held|hold|again|run|end|count|promise|drop|take|way|later|demand|pause|stop|stopAll|of|tell|call|ask|settle|refuse|resolve|reject)$/;

/** Bundled by one, and said in fewer bytes by another. @returns {Promise<string>} the module, whole and without comments but for where it comes from */
export async function minified() {
  const { outputFiles } = await build({
    entryPoints: [`${CLIENT}aldaba.js`],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    mangleProps: INTERNAL,
  });
  const { code } = await minify(outputFiles[0].text, {
    module: true,
    ecma: 2022,
    compress: { passes: 3, sequences: false },
    format: { preamble: '// aldaba, MIT' },
  });
  return `${code}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(TARGET, await minified());
