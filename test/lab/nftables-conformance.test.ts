import test from 'ava';
import { proxyConformance, type ProxyAnswer } from '../../kernel/conformance/proxy.ts';
import { NftablesProxy } from '../../netplugins/proxies/nftables/nftables-proxy.ts';
import { clusterCidrs, createCluster, type Member } from './support/cluster.ts';
import { nodeAddress, quiet, snapshot, underlayAddress } from './support/topology.ts';

const external = '198.51.100.1';
const balancer = '198.51.100.2';

proxyConformance(test, {
  name: 'nftables',
  capabilities: [
    'ipv4',
    'ipv6',
    'tcp',
    'udp',
    'sctp',
    'node-port',
    'affinity',
    'affinity-time-out',
    'source-ranges',
    'client-address',
    'outlives-agent',
  ],
  open: async (t) => {
    const { members, topology } = await createCluster(t, 2);
    const [one, two] = members as [Member, Member];
    topology.underlay.run('ip', 'route', 'add', '198.51.100.0/24', 'via', nodeAddress(0));
    const open = (): NftablesProxy =>
      new NftablesProxy({
        families: ['ip', 'ip6'],
        log: quiet,
        clock: { now: () => Date.now() },
        netns: one.node.netns,
      });
    let running = open();
    t.teardown(() => running[Symbol.asyncDispose]());
    const clients = { local: one.pod, node: one.node, outside: topology.underlay };
    const change = (...commands: readonly string[]) => ({
      what: commands.join('; '),
      inflict: async () => {
        const dispatch = one.node.run('nft', 'list', 'chain', 'ip', 'pintle-proxy', 'nat-prerouting');
        const live = /vmap @services(-[ab])/.exec(dispatch)?.[1] ?? '';
        for (const command of commands) one.node.run('nft', command.replace('LIVE', live));
      },
    });
    return {
      proxy: () => running,
      restart: async () => {
        await running[Symbol.asyncDispose]();
        running = open();
        return running;
      },
      connect: async (from, { address, port, protocol = 'TCP', sourcePort }): Promise<ProxyAnswer> => {
        const local = sourcePort === undefined ? {} : { localPort: sourcePort };
        const result =
          protocol === 'TCP'
            ? await clients[from].tcp(address, port, { timeoutMs: 1_000 })
            : await clients[from].udp(address, port, { timeoutMs: 1_000, ...local });
        if (result.error === 'ECONNREFUSED') return 'refused';
        if (result.answer === undefined) return 'dropped';
        const [name, client = ''] = result.answer.split(' ');
        return { endpoint: name === one.peer.name ? 'local' : 'remote', client };
      },
      localAddress: one.ip,
      remoteAddress: two.ip,
      nodeAddress: nodeAddress(0),
      outsideAddress: underlayAddress,
      clusterCidrs,
      serviceAddresses: ['10.96.0.1', '10.96.0.2'],
      externalAddress: external,
      balancerAddress: balancer,
      traces: async () => snapshot(one.node),
      damages: [
        change('flush ruleset'),
        change('delete table ip pintle-proxy'),
        change('flush map ip pintle-proxy servicesLIVE'),
        change('flush chain ip pintle-proxy nat-postrouting'),
      ],
    };
  },
});
