/** Cases of the runtime kit for runtimes that run processes: output, endings, isolation. */
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SeccompChoice } from '../../contract/index.ts';
import { processesWith, readLog, until, type RuntimeCase } from './subject.ts';

/** Waits, as a script of `sh`, for a process of another container that sleeps so long, or will: it does not find itself. */
const awaitSleep = (seconds: string): string =>
  `until grep -qs "[s]leep.${seconds}" /proc/[0-9]*/cmdline; do sleep 0.02; done`;

const pids = (): readonly string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name));

/** Whether this process may have every capability that the kernel knows. */
function hostHasAllCapabilities(): boolean {
  const last = BigInt(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8').trim());
  const bounding = /^CapBnd:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return BigInt(`0x${bounding}`) === (1n << (last + 1n)) - 1n;
}

export const processCases: readonly RuntimeCase[] = [
  {
    title: 'a process that a signal ended has the exit code 128 and the signal',
    needs: ['real', 'init'],
    run: async (t, subject) => {
      t.is((await subject.run('kill -9 $$')).exitCode, 137);
      t.is((await subject.run('kill -ABRT $$')).exitCode, 134);
    },
  },
  {
    title: 'stopping tells the process first and lets it end as it wants',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(id, 'trap "echo bye; exit 5" TERM; echo ready; while :; do sleep 0.05; done');
      await subject.runtime.startContainer(spec);
      await until('it is ready', () => readLog(spec.logPath).lines.length > 0 || undefined);
      await subject.runtime.stopContainer(spec.id, 20_000);
      t.is((await subject.find(spec.id))?.exitCode, 5);
      t.is(readLog(spec.logPath).text('stdout'), 'ready\nbye\n');
    },
  },
  {
    title: 'a process that does not end in time is killed',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      let said = '';
      // On a busy machine it may not get to say anything in a short time.
      for (const graceMs of [500, 10_000]) {
        const spec = subject.scriptSpec(id, 'trap "echo told" TERM; echo ready; while :; do sleep 0.05; done');
        await subject.runtime.startContainer(spec);
        await until('it is ready', () => readLog(spec.logPath).lines.length > 0 || undefined);
        await subject.runtime.stopContainer(spec.id, graceMs);
        t.is((await subject.find(spec.id))?.exitCode, 137);
        said = readLog(spec.logPath).text('stdout');
        if (said !== 'ready\n') break;
      }
      t.is(said, 'ready\ntold\n', 'it was killed without being told');
    },
  },
  {
    title: 'a plain program is ended by TERM although it handles no signal',
    needs: ['real', 'init'],
    run: async (t, subject) => {
      const marker = String(1_000_000 + Math.floor(Math.random() * 1e9));
      const { spec } = await subject.started({ command: ['sleep', marker] });
      await until('it runs', () => processesWith(`sleep\0${marker}`, pids()).length > 0 || undefined);
      await subject.runtime.stopContainer(spec.id, 60_000);
      t.is((await subject.find(spec.id))?.exitCode, 143);
    },
  },
  {
    title: 'when the main process has ended, all of its processes have',
    needs: ['real'],
    run: async (t, subject) => {
      const marker = String(1_000_000 + Math.floor(Math.random() * 1e9));
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(
        id,
        `(trap "" TERM; setsid sleep ${marker}) & sleep ${marker} & while [ ! -e /tmp/go ]; do sleep 0.02; done; exit 6`,
      );
      await subject.runtime.startContainer(spec);
      await until('its processes run', () => processesWith(`sleep\0${marker}`, pids()).length >= 2 || undefined);
      const streams = await subject.runtime.exec(spec.id, { command: ['touch', '/tmp/go'], stdin: false, tty: false });
      await streams.exited;
      t.is((await subject.ended(spec.id)).exitCode, 6);
      t.deepEqual(processesWith(`sleep\0${marker}`, pids()), []);
    },
  },
  {
    title: 'a command that does not exist fails the start and is on record',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      for (const [command, exitCode] of [
        ['no-such-command', 127],
        ['/no/such/file', 127],
        ['/etc/hostname', 126],
        ['/etc', 126],
      ] as const) {
        const spec = subject.containerSpec(id, { command: [command] });
        await t.throwsAsync(subject.runtime.startContainer(spec), {
          code: 'CONTAINER_START_FAILED',
          message: new RegExp(command),
        });
        const container = await subject.find(spec.id);
        t.deepEqual([container?.state, container?.exitCode, container?.reason], ['exited', exitCode, 'StartError']);
        t.true((container?.message ?? '').includes(command), 'the record does not say why');
      }
    },
  },
  {
    title: 'a container without any command is invalid and on record',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.containerSpec(id, { command: [] });
      await t.throwsAsync(subject.runtime.startContainer(spec), { code: 'CONTAINER_INVALID', message: /command/ });
      t.is((await subject.find(spec.id))?.state, 'exited');
    },
  },
  {
    title: 'arguments, environment and working directory arrive as they are',
    needs: ['real'],
    run: async (t, subject) => {
      const env = [
        { name: 'KIT_A', value: 'two words\nand "lines" $HOME `id`' },
        { name: 'kit.dotted-name', value: '1' },
        { name: 'LD_PRELOAD', value: '' },
      ];
      const script =
        'printf "[%s]" "$KIT_A" "$@"; printf "\\n"; tr "\\0" "\\n" </proc/$$/environ | grep ^kit.dotted; pwd';
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.containerSpec(id, {
        command: ['sh', '-c', script, 'sh'],
        args: ['a b', '', '$(id)', "it's", '*'],
        env,
        workingDir: '/usr/share',
      });
      await subject.runtime.startContainer(spec);
      t.is((await subject.ended(spec.id)).exitCode, 0);
      t.is(
        readLog(spec.logPath).text('stdout'),
        '[two words\nand "lines" $HOME `id`][a b][][$(id)][it\'s][*]\nkit.dotted-name=1\n/usr/share\n',
      );
    },
  },
  {
    title: 'it sees its own host name, hosts, resolver and processes only',
    needs: ['real'],
    run: async (t, subject) => {
      const script =
        'uname -n; cat /etc/hostname; grep -c kit-peer /etc/hosts; cat /etc/resolv.conf; cat /proc/[0-9]*/comm | grep -c "^node" || true';
      const { stdout } = await subject.run(script, {}, { hostname: 'kit-host' });
      t.is(stdout, 'kit-host\nkit-host\n1\nnameserver 192.0.2.53\nsearch kit.example\n0\n');
    },
  },
  {
    title: 'containers of one sandbox share network, ipc and host name, and nothing else',
    needs: ['real'],
    run: async (t, subject) => {
      const { id, netns } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const script = 'for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done; uname -n; exec sleep 1000000';
      const seen = [];
      for (let index = 0; index < 2; index++) {
        const spec = subject.scriptSpec(id, script);
        await subject.runtime.startContainer(spec);
        const isTold = (): boolean => readLog(spec.logPath).lines.length === 6;
        await until('it has told its namespaces', () => isTold() || undefined);
        seen.push(readLog(spec.logPath).text('stdout').trim().split('\n'));
      }
      const [first = [], second = []] = seen;
      t.deepEqual(first.slice(0, 2), second.slice(0, 2));
      for (const kind of [3, 4]) t.not(first[kind], second[kind]);
      t.is(first[5], second[5]);
      const own = ['net', 'ipc', 'uts', 'pid', 'mnt'].map((kind) => readlinkSync(`/proc/self/ns/${kind}`));
      for (const [index, namespace] of own.entries())
        t.not(first[index], namespace, 'it shares a namespace with the node');
      t.is(`net:[${statSync(netns ?? '').ino}]`, first[0], 'netns names another namespace');
    },
  },
  {
    title: 'with hostNetwork it is in the network of the node',
    needs: ['real'],
    run: async (t, subject) => {
      const sandbox = await subject.runtime.ensureSandbox(subject.sandboxSpec({ hostNetwork: true }));
      t.is(sandbox.netns, undefined);
      const { stdout } = await subject.run('readlink /proc/self/ns/net', {}, { hostNetwork: true });
      t.is(stdout.trim(), readlinkSync('/proc/self/ns/net'));
    },
  },
  {
    title: 'the sysctls of the sandbox hold in it',
    needs: ['real'],
    run: async (t, subject) => {
      const { stdout } = await subject.run(
        'cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
        {},
        { sysctls: { 'net.ipv4.ip_unprivileged_port_start': '81' } },
      );
      t.is(stdout, '81\n');
    },
  },
  {
    title: 'what it writes is its own and gone with it',
    needs: ['real'],
    run: async (t, subject) => {
      const name = `/tmp/kit-${Math.floor(Math.random() * 1e9)}`;
      t.is((await subject.run(`echo mine > ${name}; cat ${name}`)).stdout, 'mine\n');
      t.is((await subject.run(`cat ${name} 2>/dev/null || echo none`)).stdout, 'none\n');
      const config = `/etc/kit-${Math.floor(Math.random() * 1e9)}`;
      t.is((await subject.run(`echo x > ${config}; cat ${config}`)).stdout, 'x\n');
      t.false(existsSync(config) || existsSync(name), 'it wrote to the node');
    },
  },
  {
    title: 'a read-only root refuses writes',
    needs: ['real'],
    run: async (t, subject) => {
      const { stdout } = await subject.run(
        'for d in / /tmp /etc /usr /run; do touch $d/kit 2>/dev/null && echo $d; done; echo done',
        { readOnlyRoot: true },
      );
      t.is(stdout, 'done\n');
    },
  },
  {
    title: 'volumes are mounted, writable or not',
    needs: ['real'],
    run: async (t, subject) => {
      const folder = join(subject.folder, 'volume with blank');
      mkdirSync(join(folder, 'sub'), { recursive: true });
      writeFileSync(join(folder, 'in'), 'from the node\n');
      const mounts = [
        { hostPath: folder, containerPath: '/kit/rw', readOnly: false },
        { hostPath: folder, containerPath: '/kit/ro', readOnly: true },
        { hostPath: join(folder, 'in'), containerPath: '/etc/kit-file', readOnly: true },
      ];
      const { stdout } = await subject.run(
        'cat /kit/rw/in /etc/kit-file; echo out > /kit/rw/out; touch /kit/ro/no 2>/dev/null || echo refused; touch /etc/kit-file 2>/dev/null || echo refused',
        { mounts },
      );
      t.is(stdout, 'from the node\nfrom the node\nrefused\nrefused\n');
      t.is(readFileSync(join(folder, 'out'), 'utf8'), 'out\n');
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(id, 'true', {
        mounts: [{ hostPath: join(folder, 'missing'), containerPath: '/x', readOnly: false }],
      });
      await t.throwsAsync(subject.runtime.startContainer(spec), { code: 'CONTAINER_INVALID', message: /missing/ });
    },
  },
  {
    title: 'a volume below a link in the image is mounted in the container and nowhere else',
    needs: ['real'],
    run: async (t, subject) => {
      const folder = join(subject.folder, 'volume');
      mkdirSync(folder);
      writeFileSync(join(folder, 'mark'), 'here\n');
      const name = `kit-${Math.floor(Math.random() * 1e9)}`;
      const { stdout } = await subject.run(`cat /run/${name}/mark`, {
        mounts: [{ hostPath: folder, containerPath: `/var/run/${name}`, readOnly: false }],
      });
      t.is(stdout, 'here\n');
      t.false(readdirSync('/run').includes(name), 'a mount point was made on the node');
    },
  },
  {
    title: 'it has few capabilities, fewer or more when asked, all when privileged',
    needs: ['real'],
    run: async (t, subject) => {
      const effective = async (over: Parameters<typeof subject.run>[1]): Promise<bigint> =>
        BigInt(`0x${(await subject.run('grep CapEff /proc/self/status', over)).stdout.split(/\s+/)[1]}`);
      const [chown, netAdmin, sysAdmin] = [1n << 0n, 1n << 12n, 1n << 21n];
      const plain = await effective({});
      t.deepEqual([plain & chown, plain & netAdmin, plain & sysAdmin], [chown, 0n, 0n]);
      t.is((await effective({ addCapabilities: ['NET_ADMIN'] })) & netAdmin, netAdmin);
      t.is((await effective({ dropCapabilities: ['CAP_CHOWN'] })) & chown, 0n);
      t.is(await effective({ dropCapabilities: ['ALL'] }), 0n);
      // An engine that wants to give all refuses where the host itself has not all.
      const withAll = await effective({ privileged: true }).catch((error: unknown) => {
        if (hostHasAllCapabilities()) throw error;
        return sysAdmin;
      });
      t.is(withAll & sysAdmin, sysAdmin);
      t.is(
        (await subject.run('grep NoNewPrivs /proc/self/status', { noNewPrivileges: true })).stdout.trim(),
        'NoNewPrivs:\t1',
      );
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(id, 'true', { addCapabilities: ['FLY'] });
      await t.throwsAsync(subject.runtime.startContainer(spec), { code: 'CONTAINER_INVALID', message: /FLY/ });
    },
  },
  {
    title: 'a seccomp profile holds, or it says that it cannot',
    needs: ['real'],
    run: async (t, subject) => {
      const file = join(subject.folder, 'seccomp.json');
      const denied = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' };
      writeFileSync(file, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [denied] }));
      const script = 'mkdir /tmp/kit-seccomp 2> /dev/null || echo refused; grep ^Seccomp: /proc/self/status';
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(id, script, { seccomp: { file } });
      try {
        await subject.runtime.startContainer(spec);
      } catch {
        await t.throwsAsync(subject.runtime.startContainer({ ...spec, id: `${spec.id}-again` }), {
          code: 'CONTAINER_INVALID',
          message: /seccomp/,
        });
        return;
      }
      const output = async (seccomp: SeccompChoice): Promise<string> =>
        (await subject.run(script, { seccomp })).stdout.trim();
      t.is(await output({ file }), 'refused\nSeccomp:\t2');
      t.is(await output('RuntimeDefault'), 'Seccomp:\t2');
      t.is(await output('Unconfined'), 'Seccomp:\t0');
      const missing = subject.scriptSpec(id, 'true', { seccomp: { file: `${file}.missing` } });
      await t.throwsAsync(subject.runtime.startContainer(missing), { message: /seccomp/ });
    },
  },
  {
    title: 'it runs as the user and groups asked for, or says that it cannot',
    needs: ['real'],
    run: async (t, subject) => {
      const identity = { user: 1234, group: 2345, supplementalGroups: [3456] };
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(
        id,
        'id -u; id -G; echo again > /dev/stdout; grep CapEff /proc/self/status',
        identity,
      );
      try {
        await subject.runtime.startContainer(spec);
      } catch {
        await t.throwsAsync(subject.runtime.startContainer({ ...spec, id: `${spec.id}-again` }), {
          code: 'CONTAINER_INVALID',
          message: /user 1234/,
        });
        return;
      }
      t.is((await subject.ended(spec.id)).exitCode, 0);
      t.is(readLog(spec.logPath).text('stdout'), '1234\n2345 3456\nagain\nCapEff:\t0000000000000000\n');
      const streams = await (async () => {
        const main = subject.containerSpec(id, { command: ['sleep', '1000000'], ...identity });
        await subject.runtime.startContainer(main);
        return subject.runtime.exec(main.id, { command: ['id', '-G'], stdin: false, tty: false });
      })();
      t.is(String(await new Promise((resolve) => streams.stdout?.once('data', resolve))), '2345 3456\n');
    },
  },
  {
    title: 'with hostPid it sees the processes of the node, and its own still end with it',
    needs: ['real'],
    run: async (t, subject) => {
      const marker = String(1_000_000 + Math.floor(Math.random() * 1e9));
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec({ hostPid: true }));
      for (const end of ['exit 7', 'exec sleep 1000000']) {
        const spec = subject.scriptSpec(
          id,
          `readlink /proc/self/ns/pid; for n in $(seq 50); do sleep ${marker} & done; ${end}`,
        );
        await subject.runtime.startContainer(spec);
        if (end !== 'exit 7') {
          await until('its processes run', () => processesWith(`sleep\0${marker}`, pids()).length > 0 || undefined);
          await subject.runtime.stopContainer(spec.id, 0);
        }
        t.is((await subject.ended(spec.id)).exitCode, end === 'exit 7' ? 7 : 137);
        t.is(readLog(spec.logPath).text('stdout').trim(), readlinkSync('/proc/self/ns/pid'));
        await until(
          'its processes have ended',
          () => processesWith(`sleep\0${marker}`, pids()).length === 0 || undefined,
        );
      }
    },
  },
  {
    title: 'with sharedPid containers see each other, and each ends with all of its own alone',
    needs: ['real', 'shared-pid'],
    run: async (t, subject) => {
      const marker = String(1_000_000 + Math.floor(Math.random() * 1e9));
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec({ sharedPid: true }));
      const looks = subject.scriptSpec(id, `${awaitSleep(marker)}; echo seen`);
      await subject.runtime.startContainer(looks);
      // Its end finds it starting processes.
      const other = subject.scriptSpec(id, `for n in $(seq 200); do sleep ${marker} & done; exec sleep 1000000`);
      await subject.runtime.startContainer(other);
      t.is((await subject.ended(looks.id)).exitCode, 0);
      t.is((await subject.find(other.id))?.state, 'running');
      await subject.runtime.stopContainer(other.id, 0);
      await until(
        'its processes have ended',
        () => processesWith(`sleep\0${marker}`, pids()).length === 0 || undefined,
      );
      t.true((await subject.runtime.listSandboxes())[0]?.ready, 'the sandbox ended with a container');
    },
  },
  {
    title: 'a container with a target sees its processes, keeps its own files, and leaves it alone at its end',
    needs: ['real', 'shared-pid'],
    run: async (t, subject) => {
      const marker = String(1_000_000 + Math.floor(Math.random() * 1e9));
      const { spec: target } = await subject.started({
        command: ['sh', '-c', `touch /tmp/of-target; sleep ${marker}; exec sleep 1000000`],
      });
      const script = `${awaitSleep(marker)}; test ! -e /tmp/of-target`;
      const spec = { ...subject.scriptSpec(target.sandboxId, script), targetContainerId: target.id };
      await subject.runtime.startContainer(spec);
      t.is((await subject.ended(spec.id)).exitCode, 0);
      t.is((await subject.find(target.id))?.state, 'running');
    },
  },
  {
    title: 'it cannot change the kernel settings of the node',
    needs: ['real'],
    run: async (t, subject) => {
      const { stdout } = await subject.run(
        '{ echo x > /proc/sys/kernel/core_pattern; } 2>/dev/null || echo refused; { echo > /proc/sysrq-trigger; } 2>/dev/null || echo refused; mount -t tmpfs x /mnt 2>/dev/null || echo refused',
      );
      t.is(stdout, 'refused\nrefused\nrefused\n');
    },
  },
  {
    title: 'a memory limit holds and its breach is told',
    needs: ['real', 'limits'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(id, 'head -c 200000000 /dev/zero | tail -c 150000000 >/dev/null; exit $?', {
        limits: { memoryBytes: 30_000_000 },
      });
      await subject.runtime.startContainer(spec);
      const container = await subject.ended(spec.id);
      t.deepEqual([container.exitCode, container.reason], [137, 'OOMKilled']);
    },
  },
  {
    title: 'a limit of processes holds',
    needs: ['real', 'pids'],
    run: async (t, subject) => {
      const { stdout } = await subject.run('for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; echo all', {
        limits: { pids: 8 },
      });
      t.is(stdout, '', 'it made more processes than it may');
    },
  },
];
