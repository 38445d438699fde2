/** Run on a kernel with IPVS: makes virtual services in its network namespace, and prints what the kernel then has. */
import { chooseBackend } from '../../../netplugins/linux/iptables.ts';
import { keyText, type IpvsKey } from '../../../netplugins/linux/ipvs-codec.ts';
import { openIpvs } from '../../../netplugins/linux/ipvs.ts';

const tcp: IpvsKey = { protocol: 'tcp', address: '10.96.0.1', port: 80 };
const udp: IpvsKey = { protocol: 'udp', address: 'fd96::1', port: 53 };
const marked: IpvsKey = { mark: 0x50010001, family: 2 };
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
  ipvs.apply([{ verb: 'addService', service }]);
} catch (error) {
  unknownScheduler = (error as { details: { errno: string } }).details.errno;
}
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
console.log(JSON.stringify({ services, destinations, missing, timeouts, unknownScheduler, left, backend }));
