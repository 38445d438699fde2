/** Overlays and attachments on real packets, beside bare veth and plain routes. */
import { dockerProblem } from '../../bed/docker-engine.ts';
import { hasTool, installHint, tools } from '../../bed/tools.ts';
import type { Family } from '../../bed/wire.ts';
import { PintleError } from '../../../kernel/contract/errors.ts';
import type { Bed, CellPlan, Size, Suite } from '../../method/suite.ts';
import { capabilityFacts, families, list, select, type Selected, type SuiteContext } from '../selection.ts';
import { OverlayBed, RoutedBed, VethBed } from './bed.ts';
import { netMetrics } from './metrics.ts';
import { netTools } from './traffic.ts';

interface Variant {
  readonly family: Family;
  readonly hasOffloads: boolean;
}

export async function netSuite(context: SuiteContext): Promise<Suite> {
  const { options, size } = context;
  const missing = netTools.filter((tool) => !hasTool(tool));
  if (missing.length > 0)
    throw new PintleError('BENCH_INVALID', `the net suite needs ${missing.join(', ')}: ${installHint(missing)}`);
  const overlays = await select(context, 'overlay', options['overlay']);
  const attachments = await select(context, 'attachment', options['attachment']);
  const isNamed = options['overlay'] !== undefined || options['attachment'] !== undefined;
  const pairs = pairsOf(overlays, attachments, isNamed ? 'full' : size);
  const variants = families(options['family'], size === 'full' ? 'ipv4,ipv6' : 'ipv4').flatMap((family) =>
    list(options['offload'], 'on').map((offload): Variant => {
      if (offload !== 'on' && offload !== 'off')
        throw new PintleError('BENCH_INVALID', `--offload is \`${offload}\`, expected on, off or both with a comma`);
      return { family, hasOffloads: offload === 'on' };
    }),
  );
  const [overlayFacts, attachmentFacts] = [capabilityFacts(overlays), capabilityFacts(attachments)];
  const beds = new Map<string, () => Promise<Bed>>();
  // What people have today, where nobody asked for certain overlays.
  const hasDocker = (options['overlay'] ?? 'all') === 'all';
  const dockerCell = (variant: Variant, suffix: string, baseline: string): CellPlan => {
    const id = `docker overlay${suffix}`;
    beds.set(id, async () => (await import('./docker-bed.ts')).DockerBed.open({ ...variant, size }));
    const factors = { overlay: 'docker', attachment: '', family: variant.family };
    const skip =
      variant.family === 'ipv4'
        ? dockerProblem()
        : 'a swarm of Docker allocates no IPv6 addresses: containers on both nodes have the same one';
    return {
      ...{ id, factors: { ...factors, offload: variant.hasOffloads ? 'on' : 'off' }, baseline, isBaseline: false },
      ...{ contest: `${variant.family}${suffix}`, skip },
    };
  };
  const cells = variants.flatMap((variant): readonly CellPlan[] => {
    const suffix = `${variant.family === 'ipv6' ? ' ipv6' : ''}${variant.hasOffloads ? '' : ' no-offload'}`;
    const cell = { ...variant, size };
    const factors = { family: variant.family, offload: variant.hasOffloads ? 'on' : 'off' };
    const baselines = [
      { name: 'veth', open: async () => new VethBed(cell) },
      { name: 'routed', open: async () => new RoutedBed(cell) },
    ].map(({ name, open }): CellPlan => {
      beds.set(`${name}${suffix}`, open);
      return { id: `${name}${suffix}`, factors: { overlay: name, attachment: '', ...factors }, isBaseline: true };
    });
    return [
      ...baselines,
      ...pairs.map(([overlay, attachment]): CellPlan => {
        const id = `${overlay.name} x ${attachment.name}${suffix}`;
        beds.set(id, () => OverlayBed.open(cell, { overlay, attachment, source: context.source }));
        return {
          ...{ id, factors: { overlay: overlay.name, attachment: attachment.name, ...factors } },
          ...{
            baseline: `routed${suffix}`,
            isBaseline: false,
            contest: `${variant.family}${suffix}`,
            facts: { ...overlayFacts(overlay), ...attachmentFacts(attachment) },
            skip: skipOf(overlay, attachment, variant.family),
          },
        };
      }),
      ...(hasDocker ? [dockerCell(variant, suffix, `routed${suffix}`)] : []),
    ];
  });
  return {
    ...{ name: 'net', title: 'Networks', metrics: netMetrics(size), cells },
    summary:
      'Pod to pod through an overlay and an attachment, as a share of plain routes between the same nodes (routed). ' +
      'veth is two namespaces on one cable: what the generators reach here. docker overlay is that of a Docker swarm.',
    options: { ...options },
    versions: Object.fromEntries(
      Object.entries(tools).map(([tool, name]) => [name, hasTool(tool) ? 'installed' : 'missing']),
    ),
    open: (cell) => beds.get(cell.id)!(),
  };
}

/**
 * Full: all with all. Standard: every overlay with the first attachment, and the first overlay with every one. Smoke: every
 * one of both at least once.
 */
function pairsOf(
  overlays: readonly Selected[],
  attachments: readonly Selected[],
  size: Size,
): readonly (readonly [Selected, Selected])[] {
  if (size === 'smoke')
    return Array.from({ length: Math.max(overlays.length, attachments.length) }, (_, index) => [
      overlays[index % overlays.length]!,
      attachments[index % attachments.length]!,
    ]);
  return overlays.flatMap((overlay, row) =>
    attachments.flatMap((attachment, column) =>
      size === 'full' || row === 0 || column === 0 ? [[overlay, attachment] as const] : [],
    ),
  );
}

function skipOf(overlay: Selected, attachment: Selected, family: Family): string | undefined {
  for (const { kind, name, skip, capabilities } of [overlay, attachment]) {
    if (skip !== undefined) return `${kind} ${name}: ${skip}`;
    if (!capabilities.includes(family)) return `${kind} ${name} does not do ${family}`;
  }
  return undefined;
}
