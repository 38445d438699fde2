// Pure tests: no privileges, no network beyond loopback. Worker threads are off: native add-ons are loaded once a process.
export default {
  files: ['out/test/{unit,conformance,architecture}/**/*.test.js'],
  workerThreads: false,
  timeout: '60s',
};
