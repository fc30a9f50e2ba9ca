-- Psql variables and roles are the session's and the cluster's: what all files need is made here.
CREATE EXTENSION tenant_guard;
CREATE ROLE regress_tenant_guard_app;
SELECT tenant_guard.add_issuer('https://regress.example', '{"keys": [
    {"kty": "oct", "kid": "1", "alg": "HS256", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}',
    require_exp => false);
CREATE TABLE tokens (name text PRIMARY KEY, token text NOT NULL);
INSERT INTO tokens VALUES
    ('dana of acme', 'eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL3JlZ3Jlc3MuZXhhbXBsZSIsInN1YiI6ImRhbmEiLCJhY2NvdW50X2lkIjoiYWNtZSJ9.4G2VsI2NTULwpyUBwa0SI6gYkaokS3fMJBPmiGe9DeM'),
    ('glen of globex', 'eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL3JlZ3Jlc3MuZXhhbXBsZSIsInN1YiI6ImdsZW4iLCJhY2NvdW50X2lkIjoiZ2xvYmV4Iiwicm9sZXMiOlsiYWRtaW4iXX0.QKKB-M-s1zloeuX5LoB94PqhOf3bZkHb_lYZa2fL4Eo');
CREATE FUNCTION sign_in(text) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$ SELECT tenant_guard.authenticate(token) ->> 'sub' FROM tokens WHERE name = $1 $$;
CREATE TABLE orders (
    account_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    item text NOT NULL,
    PRIMARY KEY (account_id, id)
);
INSERT INTO orders (account_id, item) VALUES ('acme', 'anvil'), ('globex', 'laser');
GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO regress_tenant_guard_app;
SELECT tenant_guard.protect('orders');
