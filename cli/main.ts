#!/usr/bin/env node
// Asks for the Node version before anything is imported: an old Node would fail on the syntax of a library instead.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(
    `pintle needs Node 20.19 or newer, this is ${process.versions.node}. On Debian: apt-get install nodejs (13 or newer), or see nodejs.org\n`,
  );
  process.exit(1);
}
// A reader that has seen enough (`| head`) is no failure of ours, and no reason for a cluster to go.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});
(await import('./optimization.ts')).optimizeLate();
const { runCli } = await import('./program.ts');
process.exitCode = await runCli(process.argv.slice(2));

export {};
