/** User-mode Linux: a second kernel in seconds, here for IPVS without traffic. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { kernelProblem, openKernel } from '../../lab/kernels/run-on.ts';

const trial = fileURLToPath(new URL('./support/ipvs-trial.js', import.meta.url));

async function runInUml(argv: readonly string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const output = { stdout: '', stderr: '' };
  const exitCode = await openKernel('uml').run({
    argv,
    cwd: dirname(trial),
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', WORD: 'two words' },
    onOutput: (stream, chunk) => void (output[stream] += chunk.toString()),
  });
  return { exitCode, ...output };
}

const problem = kernelProblem('uml');
if (problem !== undefined)
  test('a command runs on User-mode Linux', (t) => t.log(`skipped: ${problem.reason}; ${problem.fix}`));
else {
  test('a command on User-mode Linux has its output, its exit code and its environment; no file of the host changes', async (t) => {
    const mark = join(dirname(trial), `mark-${process.pid}`);
    const script = `uname -r; echo "$WORD $(id -u)" >&2; touch ${mark} 2> /dev/null; touch /tmp/mark-${process.pid}; exit 7`;
    const { exitCode, stdout, stderr } = await runInUml(['sh', '-c', script]);
    t.is(exitCode, 7);
    t.regex(stdout, /^\d+\.\d+\S*\n$/);
    t.is(stderr, 'two words 0\n');
    t.false(existsSync(mark));
    t.false(existsSync(`/tmp/mark-${process.pid}`));
  });

  test('a guest that is given up leaves nothing', async (t) => {
    const stop = new AbortController();
    const run = openKernel('uml').run({
      argv: ['sh', '-c', 'echo running; sleep 600'],
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      signal: stop.signal,
      onOutput: () => stop.abort(new Error('given up')),
    });
    await t.throwsAsync(run, { message: 'given up' });
  });

  test('IPVS: services, destinations and time-outs as the kernel has them, and the iptables that it has', async (t) => {
    const { exitCode, stdout, stderr } = await runInUml([process.execPath, trial]);
    t.is(exitCode, 0, stderr);
    const found = JSON.parse(stdout) as Readonly<Record<string, unknown>>;
    t.deepEqual(found, {
      services: ['mark 1342242817 2 mh', 'tcp 10.96.0.1 80 rr', 'udp fd96::1 53 mh 300 s'],
      destinations: ['10.244.1.2:8080 weight 0', '10.244.2.2:8080 weight 1'],
      missing: 0,
      timeouts: { tcpSeconds: 100, tcpFinSeconds: 10, udpSeconds: 5 },
      // Debian builds all schedulers but one.
      refusals: { unknownScheduler: 'ENOENT', unknownSet: 'ENOENT', schedulers: ['twos'], destinations: ['239.1.2.3'] },
      elements: ['10.96.0.1'],
      left: 0,
      // Whatever the command iptables stands for: this kernel has no nftables for IP.
      backend: 'legacy',
    });
  });
}
