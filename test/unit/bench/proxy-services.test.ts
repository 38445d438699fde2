import test from 'ava';
import { canonicalIp } from '../../../netplugins/linux/ip-address.ts';
import * as services from '../../../bench/suites/proxy/services.ts';

for (const family of ['ipv4', 'ipv6'] as const)
  test(`${family}: 70,000 Services have an address each, in canonical form, and endpoints of their own`, (t) => {
    const backend = { address: family === 'ipv4' ? '10.244.2.2' : 'fd44:0:0:2::2', port: 1 };
    const ports = services.manyServices(70_000, [backend], family);
    const extras = [services.emptyServiceAddress, services.iperfServiceAddress, services.rolledServiceAddress];
    const addresses = [...ports.flatMap(({ clusterIps }) => clusterIps), ...extras.map((of) => of(family))];
    t.is(new Set([...addresses, services.addedServiceAddress(0, family)]).size, 70_004);
    t.true(addresses.every((address) => canonicalIp(address) === address));
    const idle = ports.flatMap(({ endpoints }) => endpoints).filter(({ address }) => address !== backend.address);
    const places = idle.map(({ address, port }) => `${address} ${port}`);
    t.is(new Set(places).size, places.length);
    t.true(idle.every(({ address }) => canonicalIp(address) === address));
  });
