-- A role for each service. Run at each start of the pod: it makes what is missing and sets each password to that of the secret.
\set ON_ERROR_STOP on
\set QUIET on
set client_min_messages = warning;

select format('create role %I login', name)
from unnest(array['blog', 'booking', 'shop', 'lab', 'exporter']) as name
where not exists (select from pg_roles where rolname = name) \gexec

\set password `cat /passwords/blog`
alter role blog password :'password';
\set password `cat /passwords/booking`
alter role booking password :'password';
\set password `cat /passwords/shop`
alter role shop password :'password';
\set password `cat /passwords/lab`
alter role lab password :'password';
-- The exporter comes over the socket of its own pod, where who may reach the socket is trusted.
alter role exporter password null connection limit 5;

-- A service makes its own schema, owns it, and sees no other one's.
revoke all on database backends from public;
grant connect, create, temporary on database backends to blog, booking, shop, lab;
grant connect on database backends to exporter;

-- The lab fills tables, takes their indexes down and builds them again, which only their owner may; and it looks on.
grant blog, booking, shop to lab;
grant pg_monitor, pg_checkpoint to lab;
grant pg_monitor to exporter;

create extension if not exists pg_stat_statements;
