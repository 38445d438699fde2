import test from 'ava';
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import { isSamePeer } from '../../../plugins/components/node-agent/node-network.ts';

interface Difference {
  readonly podCIDRs?: readonly string[];
  readonly address?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly heartbeat?: string;
}

const node = (change: Difference): Node =>
  ({
    metadata: { name: 'a', annotations: change.annotations ?? { mac: '1' } },
    spec: { podCIDRs: change.podCIDRs ?? ['10.0.0.0/24'] },
    status: {
      addresses: [
        { type: 'InternalIP', address: change.address ?? '192.0.2.1' },
        { type: 'Hostname', address: 'a' },
      ],
      conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: change.heartbeat ?? 'then' }],
    },
  }) as unknown as Node;

test('a heartbeat is no change of a peer', (t) => {
  t.true(isSamePeer(node({}), node({ heartbeat: 'now' })));
});

const differences: Readonly<Record<string, Difference>> = {
  'another range': { podCIDRs: ['10.0.1.0/24'] },
  'a further range': { podCIDRs: ['10.0.0.0/24', 'fd00::/64'] },
  'another address': { address: '192.0.2.2' },
  'another annotation': { annotations: { mac: '2' } },
  'a further annotation': { annotations: { mac: '1', port: '8472' } },
  'no annotation': { annotations: {} },
};

for (const [what, change] of Object.entries(differences))
  test(`${what} is a change of a peer, and so is the way back`, (t) => {
    t.false(isSamePeer(node({}), node(change)));
    t.false(isSamePeer(node(change), node({})));
  });
