export default {
  files: ['out/test/{unit,conformance,architecture}/**/*.test.js'],
  workerThreads: false,
  timeout: '60s',
};
