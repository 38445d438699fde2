// Whole clusters, each in namespaces of its own.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/cluster/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  serial: true,
  timeout: '6m',
};
