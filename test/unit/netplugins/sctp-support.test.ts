import test from 'ava';
import { trackingProblem, unservedPorts } from '../../../netplugins/linux/sctp-support.ts';

const udp = 'net.netfilter.nf_conntrack_udp_timeout';
const sctp = 'net.netfilter.nf_conntrack_sctp_timeout_established';
const kernel =
  (...settings: readonly string[]) =>
  (name: string): string | undefined =>
    settings.includes(name) ? '1' : undefined;

test('a kernel that tracks SCTP has no problem, one that tracks all but SCTP has, one that shows nothing is not judged', (t) => {
  t.is(trackingProblem({}, kernel(udp, sctp)), undefined);
  t.regex(trackingProblem({}, kernel(udp)) ?? '', /CONFIG_NF_CT_PROTO_SCTP/);
  t.is(trackingProblem({}, kernel()), undefined);
});

test('Services whose ports are not served are named, each once, the first three of many', (t) => {
  const port = (service: string) => ({ namespace: 'default', service });
  t.is(unservedPorts([port('a'), port('a')]), 'SCTP ports of default/a are not served');
  t.is(
    unservedPorts(['a', 'b', 'c', 'd', 'e'].map(port)),
    'SCTP ports of default/a, default/b, default/c and 2 more are not served',
  );
});
