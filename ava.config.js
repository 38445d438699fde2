// Pure tests: no privileges, no network beyond loopback. Worker threads are off: native add-ons are loaded once a process.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/{unit,conformance,architecture}/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  // Half of a file's time is the start of its process and waiting: more of them than processors.
  concurrency: 4,
  timeout: '2m',
};
