// Tests of what this machine's kernel may lack. scripts/run-tests starts them inside a virtual machine with another kernel;
// its processors are emulated where KVM does not work, so the limits are wide. Each file has namespaces of its own, so two
// run at a time; the tests within one use test.serial.
import { nodeArguments } from './ava.node-arguments.js';

export default {
  nodeArguments,
  files: ['out/test/vm/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 2,
  timeout: '4m',
};
