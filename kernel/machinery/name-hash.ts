/** Short names for texts, as parts of object names and label values. */

/** Letters and digits that form no words and are not mistaken for each other, as Kubernetes uses for names. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** FNV-1a, 32 bits. Changing it would roll every workload out anew at the next upgrade. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

export function nameHash(text: string): string {
  return [...String(fnv1a(text))].map((digit) => alphabet[digit.charCodeAt(0) % alphabet.length]).join('');
}
