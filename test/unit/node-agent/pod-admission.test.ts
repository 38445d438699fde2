import test from 'ava';
import type { Pod, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import { admissionProblem } from '../../../plugins/components/node-agent/pod-admission.ts';

const pod = (names: readonly string[], more: Partial<PodSpec> = {}) =>
  ({ spec: { ...more, securityContext: { sysctls: names.map((name) => ({ name, value: '1' })) } } }) as Pod;

for (const [title, spec, allowed, expected] of [
  ['none', pod([]), [], undefined],
  ['a safe one', pod(['net.ipv4.tcp_syncookies']), [], undefined],
  ['a safe one with slashes', pod(['net/ipv4/tcp_syncookies']), [], undefined],
  ['an unsafe one', pod(['kernel.msgmax']), [], 'forbidden sysctl: "kernel.msgmax" not allowlisted'],
  [
    'one that begins like a safe one',
    pod(['net.ipv4.tcp_rmem2']),
    [],
    'forbidden sysctl: "net.ipv4.tcp_rmem2" not allowlisted',
  ],
  ['an unsafe one that is allowed', pod(['kernel.msgmax']), ['kernel.msg*'], undefined],
  [
    'in the network of the node',
    pod(['net.ipv4.tcp_syncookies'], { hostNetwork: true }),
    [],
    'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
  ],
  [
    'in the ipc of the node',
    pod(['kernel.shm_rmid_forced'], { hostIPC: true }),
    [],
    'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
  ],
] as const)
  test(`sysctls: ${title}`, (t) => {
    t.is(admissionProblem(spec, allowed)?.message, expected);
  });
