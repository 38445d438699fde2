// Whole clusters, each in namespaces of its own.
export default {
  files: ['out/test/cluster/**/*.test.js'],
  require: ['./out/test/overdue-end.js'],
  workerThreads: false,
  concurrency: 1,
  serial: true,
  timeout: '6m',
};
