/** How far use may be off its target before anything is done. */
import type { HorizontalPodAutoscalerBehavior } from '../../../kernel/contract/kubernetes.ts';
import { parseQuantity } from '../../../kernel/machinery/quantity.ts';

export interface Tolerance {
  readonly up: number;
  readonly down: number;
}

/** The autoscaler's own (behavior.*.tolerance), or that of the cluster. */
export function toleranceOf(behavior: HorizontalPodAutoscalerBehavior | undefined, byDefault: number): Tolerance {
  const of = (text: string | undefined): number => (text === undefined ? byDefault : parseQuantity(text));
  return { up: of(behavior?.scaleUp?.tolerance), down: of(behavior?.scaleDown?.tolerance) };
}

export function isWithin(ratio: number, tolerance: Tolerance): boolean {
  return 1 - tolerance.down <= ratio && ratio <= 1 + tolerance.up;
}
