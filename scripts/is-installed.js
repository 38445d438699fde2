// Exits 0 when node_modules holds every package of the lock file in its version. Plain JavaScript: it runs before the build.
import { readFileSync } from 'node:fs';

const packages = (file) => JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')).packages;

function isInstalled() {
  try {
    const installed = packages('../node_modules/.package-lock.json');
    return Object.entries(packages('../package-lock.json')).every(
      ([path, { version, optional }]) => path === '' || optional === true || installed[path]?.version === version,
    );
  } catch {
    return false;
  }
}

process.exitCode = isInstalled() ? 0 : 1;
