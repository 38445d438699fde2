/** Proxy modes against the number of Services, beside connections straight to the pods. */
import { hasTool } from '../../bed/tools.ts';
import type { Bed, CellPlan, Size, Suite } from '../../method/suite.ts';
import { capabilityFacts, numbers, select, type SuiteContext } from '../selection.ts';
import { DirectBed, ProxyBed } from './bed.ts';
import { proxyMetrics } from './metrics.ts';

const standardServices: Readonly<Record<Size, string>> = {
  smoke: '5',
  standard: '1,1000',
  full: '1,100,1000,10000,30000',
};

export async function proxySuite(context: SuiteContext): Promise<Suite> {
  const { options, size, source } = context;
  const proxies = await select(context, 'proxy', options['proxy']);
  const counts = numbers('services', options['services'], standardServices[size]);
  const factsOf = capabilityFacts(proxies);
  const beds = new Map<string, () => Promise<Bed>>([['direct', async () => new DirectBed(size)]]);
  const cells = counts.flatMap((services) =>
    proxies.map((choice): CellPlan => {
      const id = `${choice.name} x ${services}`;
      beds.set(id, () => ProxyBed.open({ choice, services, size, source }));
      const factors = { proxy: choice.name, services: String(services) };
      return {
        id,
        factors,
        baseline: 'direct',
        isBaseline: false,
        contest: String(services),
        facts: factsOf(choice),
        skip: choice.skip,
      };
    }),
  );
  return {
    ...{ name: 'proxy', title: 'Service proxies', metrics: proxyMetrics },
    summary:
      'Connections to Services through each proxy mode, with so many Services there, as a share of connections straight ' +
      'to the pods (direct). Ten Services are asked, evenly spread from the first to the last.',
    cells: [{ id: 'direct', factors: { proxy: 'direct', services: '' }, isBaseline: true }, ...cells],
    options: { ...options },
    versions: { iperf3: hasTool('iperf3') ? 'installed' : 'missing' },
    open: (cell) => beds.get(cell.id)!(),
  };
}
