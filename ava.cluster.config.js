// Whole clusters, each in namespaces of its own.
export default {
  files: ['out/test/cluster/**/*.test.js'],
  workerThreads: false,
  // Most of the time they wait.
  concurrency: 2,
  serial: true,
  timeout: '3m',
};
