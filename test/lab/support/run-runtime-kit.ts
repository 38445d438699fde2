/**
 * Runs the runtime kit against runtime `process` without a test runner and prints the results as JSON: what the lab
 * tests start as another user. Argument: a folder that this user may write to.
 */
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { openRuntime, runtimeConformance } from '../../../kernel/conformance/runtime.ts';

const module = new URL('../../../plugins/runtimes/process/index.js', import.meta.url).href;
const { test, run } = recordCases({ timeoutMs: 240_000 });
const [folder = '', only] = process.argv.slice(2);

runtimeConformance(test, {
  name: 'process',
  capabilities: ['images', 'tty', 'real', 'init', 'log-bound', 'exec-end', 'shared-pid'],
  image: 'host',
  module,
  folder,
  open: (stateDir) => openRuntime(module, stateDir),
});
process.stdout.write(JSON.stringify(await run((title) => only === undefined || title.includes(only))));
