// A whole cluster on a second kernel: run by name alone (npm test -- vm-cluster), on a machine that has nothing else to do.
export default {
  files: ['out/test/vm-cluster/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  timeout: '15m',
};
