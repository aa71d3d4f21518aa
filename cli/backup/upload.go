package backup

// maxPart is the largest part that a reader accepts, in bytes.
const maxPart = 64 << 20
