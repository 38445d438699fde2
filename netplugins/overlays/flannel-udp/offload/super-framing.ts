/**
 * The framing `super`: a TCP super-packet as it came, its payload cut at its own segment boundaries. One lost datagram costs
 * one segment, as with plain packets; what is saved is making and comparing a header for each.
 *
 *     0         1         2    4                4 + piece
 *     0x5 P L   index     id   piece of head    payload of one segment
 *
 * The first nibble is no version of IP. L (1 bit): the last of its super-packet. P (3 bits): the piece's length in words of
 * 4 bytes, less one. The head is the super-packet's IP and TCP headers, cut into four pieces; datagram `index` carries piece
 * `index mod 4`, so that each four datagrams in a row have all of it. Checksums and lengths in the head mean nothing.
 */
export const superVersion = 5;
export const superHeaderBytes = 4;
export const headPieces = 4;
export const fewestChunks = headPieces;
export const mostChunks = 64;
export const longestHead = 128;

export const isSuper = (firstByte: number): boolean => firstByte >> 4 === superVersion;
export const isLastChunk = (firstByte: number): boolean => (firstByte & 1) !== 0;
export const pieceLength = (firstByte: number): number => (((firstByte >> 1) & 7) + 1) * 4;

/** For a head of `length` bytes, at most `longestHead`. */
export const pieceLengthFor = (length: number): number => Math.ceil(length / (headPieces * 4)) * 4;

export const firstByteOf = (piece: number, isLast: boolean): number =>
  (superVersion << 4) | ((piece / 4 - 1) << 1) | (isLast ? 1 : 0);
