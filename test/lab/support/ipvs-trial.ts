/** Run on a kernel with IPVS: makes virtual services in its network namespace, and prints what the kernel then has. */
import { chooseBackend } from '../../../netplugins/linux/iptables.ts';
import { keyText, type IpvsKey } from '../../../netplugins/linux/ipvs-codec.ts';
import { openIpSets } from '../../../netplugins/linux/ipset.ts';
import { openIpvs } from '../../../netplugins/linux/ipvs.ts';
import { schedulers } from '../../../netplugins/proxies/ipvs/schedulers.ts';

const tcp: IpvsKey = { protocol: 'tcp', address: '10.96.0.1', port: 80 };
const udp: IpvsKey = { protocol: 'udp', address: 'fd96::1', port: 53 };
const marked: IpvsKey = { mark: 0x50010001, family: 2 };
const errnoOf = (error: unknown): string => (error as { details: { errno: string } }).details.errno;
const to = (address: string, weight = 1) => ({ address, port: 8080, weight, method: 0 });

const ipvs = openIpvs();
// Twice: what is there already is no error.
for (let round = 0; round < 2; round += 1)
  ipvs.apply([
    { verb: 'addService', service: { key: tcp, scheduler: 'rr', persistenceSeconds: undefined } },
    { verb: 'addService', service: { key: udp, scheduler: 'mh', persistenceSeconds: 300 } },
    { verb: 'addService', service: { key: marked, scheduler: 'mh', persistenceSeconds: undefined } },
    { verb: 'addDestination', key: tcp, destination: to('10.244.1.2') },
    { verb: 'addDestination', key: tcp, destination: to('10.244.2.2') },
    { verb: 'addDestination', key: udp, destination: to('fd44::2') },
    { verb: 'editDestination', key: tcp, destination: to('10.244.1.2', 0) },
  ]);
ipvs.setTimeouts({ tcpSeconds: 100, tcpFinSeconds: 10, udpSeconds: 5 });
let unknownScheduler = '';
try {
  const service = { key: { ...tcp, port: 81 }, scheduler: 'nosuch', persistenceSeconds: undefined };
  // Not the last one, which alone is asked to answer.
  ipvs.apply([
    { verb: 'addService', service },
    { verb: 'addDestination', key: tcp, destination: to('10.244.3.2') },
  ]);
} catch (error) {
  unknownScheduler = errnoOf(error);
}
ipvs.apply([{ verb: 'deleteDestination', key: tcp, destination: to('10.244.3.2') }]);
const sets = openIpSets();
let unknownSet = '';
try {
  sets.create({ name: 'trial', type: 'hash:ip', family: 2 });
  sets.apply(['missing', 'trial'].map((set) => ({ verb: 'add', set, element: '10.96.0.1' })));
} catch (error) {
  unknownSet = errnoOf(error);
}
const elements = [...(sets.elements('trial')?.keys() ?? [])];
sets.destroy('trial');
sets.close();
const refusedSchedulers = schedulers.filter((scheduler, index) => {
  const key = { ...tcp, port: 1000 + index };
  try {
    ipvs.apply([{ verb: 'addService', service: { key, scheduler, persistenceSeconds: undefined } }]);
    ipvs.apply([{ verb: 'deleteService', key }]);
    return false;
  } catch {
    return true;
  }
});
const refusedDestinations = ipvs
  .apply(['239.1.2.3', '10.244.4.2'].map((address) => ({ verb: 'addDestination', key: tcp, destination: to(address) })))
  .map(({ destination: { address } }) => address);
ipvs.apply([{ verb: 'deleteDestination', key: tcp, destination: to('10.244.4.2') }]);
const services = ipvs
  .listServices()
  .map(
    ({ key, scheduler, persistenceSeconds }) =>
      `${keyText(key)} ${scheduler}${persistenceSeconds === undefined ? '' : ` ${persistenceSeconds} s`}`,
  )
  .sort();
const destinations = ipvs
  .listDestinations(tcp)
  .map(({ address, port, weight }) => `${address}:${port} weight ${weight}`)
  .sort();
const missing = ipvs.listDestinations({ ...tcp, port: 81 }).length;
const timeouts = ipvs.getTimeouts();
for (let round = 0; round < 2; round += 1)
  ipvs.apply([tcp, udp, marked].map((key) => ({ verb: 'deleteService', key }) as const));
const left = ipvs.listServices().length;
ipvs.close();
const { backend } = await chooseBackend(['ip', 'ip6'], 'PINTLETRIAL-', 'auto');
const refusals = { unknownScheduler, unknownSet, schedulers: refusedSchedulers, destinations: refusedDestinations };
console.log(JSON.stringify({ services, destinations, missing, timeouts, refusals, elements, left, backend }));
