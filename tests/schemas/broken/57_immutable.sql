-- finds: error|57-immutable-identity|public.account(text)
-- finds: error|57-immutable-identity|public.mine()
CREATE FUNCTION public.mine() RETURNS uuid LANGUAGE sql IMMUTABLE AS 'SELECT tenant_guard.account_id()';
CREATE FUNCTION public.account(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN RETURN current_setting($1); END$$;
CREATE FUNCTION public.harmless(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN -- not current_setting($1)
    RETURN $1; END$$;
