/**
 * Loaded with every test file: what a failed test left open would keep the file's process, and with it the whole lane. It
 * ends by itself when nothing is left, as ever.
 */
import { registerCompletionHandler } from 'ava';

const graceMs = 30_000;

registerCompletionHandler(() => {
  setTimeout(() => {
    const open = [...new Set(process.getActiveResourcesInfo())].join(', ');
    console.error(`the tests of this file are over, but its process is not: still open are ${open}`);
    process.exit(1);
  }, graceMs).unref();
});
