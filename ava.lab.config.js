// Tests on real links and mounts. scripts/run-tests starts them inside private namespaces; they share those, so one at a time.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/lab/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  serial: true,
  timeout: '4m',
};
