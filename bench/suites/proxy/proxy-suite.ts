/** Proxy modes against the number of Services, beside connections straight to the pods. */
import { hasTool } from '../../bed/tools.ts';
import type { Bed, CellPlan, Size, Suite } from '../../method/suite.ts';
import { capabilityFacts, families, numbers, select, type SuiteContext } from '../selection.ts';
import { DirectBed, ProxyBed } from './bed.ts';
import { proxyMetrics } from './metrics.ts';
import { mostServices } from './services.ts';

const standardServices: Readonly<Record<Size, string>> = {
  smoke: '5',
  standard: '1,1000',
  full: '1,100,1000,10000,30000',
};

export async function proxySuite(context: SuiteContext): Promise<Suite> {
  const { options, size, source } = context;
  const proxies = await select(context, 'proxy', options['proxy']);
  const counts = numbers('services', options['services'], standardServices[size], mostServices);
  const factsOf = capabilityFacts(proxies);
  const beds = new Map<string, () => Promise<Bed>>();
  const cells = families(options['family']).flatMap((family): readonly CellPlan[] => {
    const suffix = family === 'ipv6' ? ' ipv6' : '';
    const of = { family: suffix.trim() };
    const baseline = `direct${suffix}`;
    beds.set(baseline, async () => new DirectBed(size, family));
    return [
      { id: baseline, factors: { proxy: 'direct', services: '', ...of }, isBaseline: true },
      ...counts.flatMap((services) =>
        proxies.map((choice): CellPlan => {
          const id = `${choice.name} x ${services}${suffix}`;
          beds.set(id, () => ProxyBed.open({ choice, services, family, size, source }));
          const lacks = choice.capabilities.includes(family) ? undefined : `proxy ${choice.name} does not do ${family}`;
          return {
            ...{ id, baseline, isBaseline: false, contest: `${services}${suffix}` },
            factors: { proxy: choice.name, services: String(services), ...of },
            weight: 1 + services / 5_000,
            facts: factsOf(choice),
            skip: choice.skip ?? lacks,
          };
        }),
      ),
    ];
  });
  return {
    ...{ name: 'proxy', title: 'Service proxies', metrics: proxyMetrics },
    summary:
      'Connections to Services through each proxy mode, with so many Services there, as a share of connections straight ' +
      'to the pods (direct). Ten Services are asked, evenly spread from the first to the last.',
    cells,
    options: { ...options },
    versions: { iperf3: hasTool('iperf3') ? 'installed' : 'missing' },
    open: (cell) => beds.get(cell.id)!(),
  };
}
