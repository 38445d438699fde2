// `pintle bench` itself. One file at a time: they measure.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/bench/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  serial: true,
  timeout: '6m',
};
