// Clusters shared with programs of others, which no package of Debian has: run by name alone (npm test -- interop).
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/interop/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  serial: true,
  timeout: '6m',
};
