-- finds: error|22-foreign-table|loop
-- finds: error|22-foreign-table|loop
-- finds: warning|22-foreign-table|loop
CREATE EXTENSION postgres_fdw;
CREATE SERVER loop foreign data wrapper postgres_fdw OPTIONS (dbname 'DB');
CREATE SERVER away foreign data wrapper postgres_fdw OPTIONS (dbname 'DB', host 'db.example');
CREATE user mapping FOR APP SERVER loop OPTIONS (user 'postgres', password 'not shown');
CREATE user mapping FOR PUBLIC SERVER loop;
CREATE user mapping FOR ITSOWNER SERVER loop OPTIONS (user 'APP');
CREATE user mapping FOR APP SERVER away OPTIONS (user 'postgres');
