// Whole clusters, each in namespaces of its own.
export default {
  files: ['out/test/cluster/**/*.test.js'],
  workerThreads: false,
  concurrency: 1,
  serial: true,
  timeout: '6m',
};
