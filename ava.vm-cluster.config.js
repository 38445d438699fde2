// A whole cluster on a second kernel: run by name alone (npm test -- vm-cluster), on a machine that has nothing else to do.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/vm-cluster/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  timeout: '15m',
};
