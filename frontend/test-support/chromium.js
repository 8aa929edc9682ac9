// Where Chromium is on this machine, under the names that .ci/setup accepts.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** The first of them in PATH. Throws when there is none. */
export function findChromium(path = process.env.PATH ?? '') {
  const found = NAMES.flatMap((name) =>
    path
      .split(delimiter)
      .filter(Boolean)
      .map((folder) => join(folder, name)),
  ).find(isExecutable);
  if (!found) throw new Error(`none of ${NAMES.join(', ')} is in PATH: run .ci/setup chromium`);
  return found;
}

/** @param {string} file */
function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
