// Tests of what this machine's kernel may lack. scripts/run-tests starts them inside a virtual machine with another kernel;
// its processor is emulated where KVM does not work, so the limits are wide, and one file runs at a time.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/vm/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  timeout: '8m',
};
