// Tests of what only IPVS has, on User-mode Linux: scripts/run-tests starts them inside it, and it has one processor.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/uml/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  timeout: '4m',
};
