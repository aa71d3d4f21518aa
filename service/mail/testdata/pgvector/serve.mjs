// PostgreSQL with pgvector, in this process: PGlite behind a socket. It prints its port, and ends when its standard input does.
import { PGlite } from '@electric-sql/pglite'
import { vector } from '@electric-sql/pglite-pgvector'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
import { createServer } from 'node:net'

const free = await new Promise((resolve) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const db = await PGlite.create({ extensions: { vector } })
await db.exec('CREATE EXTENSION vector')
const server = new PGLiteSocketServer({ db, port: free, host: '127.0.0.1' })
await server.start()
console.log(free)
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
